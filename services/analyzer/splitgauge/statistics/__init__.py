"""The mathematics, usable by itself: arrays in, named tuples of arrays out."""
