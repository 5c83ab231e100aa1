"""What starts the chains without a person, and what tells one: schedules, watches, conditions, notices."""
