"""Sessions: trials, as those who take part in them see them."""
