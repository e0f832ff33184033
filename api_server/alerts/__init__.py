"""Says a thing once when it is wrong, and once when it is over."""
