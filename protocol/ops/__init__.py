"""What both programs need to be run: configuration, logs, metrics, admin listener, life of the process."""
