"""What starts a chain without a person, and what tells one: schedules, watches, conditions, notices."""
