"""Who may do what: people, their roles, passwords and sessions, and the log of what they asked."""
