"""The error of an image that cannot be read."""


class UnreadableImageError(ValueError):
    """An image cannot be read; the message is the reason, as reports name it."""
