"""One file per service: a connection and the targets it offers."""
