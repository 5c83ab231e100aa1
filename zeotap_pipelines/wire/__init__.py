"""Ask a service over HTTP: paced, repeated only where that is safe, a receipt for every batch."""
