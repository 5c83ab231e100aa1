"""What every target was last told, and what it is being told: locked, journalled, folded."""
