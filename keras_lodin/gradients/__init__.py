"""Every derivative with respect to inputs."""
