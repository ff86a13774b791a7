"""Where one message ends and the next begins, for the framings providers stream in. Bytes in, whole events out."""
