"""What the editor can ask for or tell; `server.FEATURES` is the table. Each handler takes the session first."""
