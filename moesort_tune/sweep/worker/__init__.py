"""The child process that holds the device, and the protocol that it answers."""
