"""A simulated hospital archive: DICOM, reports, segmenter-like masks, and the truth apart from them."""
