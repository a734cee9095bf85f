"""The LiteRT file, which runs on phones and microcontrollers."""
