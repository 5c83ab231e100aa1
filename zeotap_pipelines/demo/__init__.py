"""The demonstration: a real purchase log, a warehouse made of it, and what plays there."""
