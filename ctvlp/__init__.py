"""Anatomy-level vision-language pre-training and zero-shot screening on CT."""

__version__ = "0.1.0"
