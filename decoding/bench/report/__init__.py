"""Shows figures as a table, JSON or a page of HTML."""
