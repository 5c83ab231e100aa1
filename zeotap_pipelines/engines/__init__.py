"""Where queries run, and what a source looks like from outside."""
