"""Geometry that several stages share: sizes, skeletons, drawing, motion fields."""
