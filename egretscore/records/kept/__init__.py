"""Records that were checked once and are kept: writing them, adding to them, erasing from them, asking them."""
