"""The page a radiologist reads: one HTML file with everything in it."""
