"""A figure beside what it has to reach."""


def mark(what: str, value: float, good: bool, wanted: str) -> bool:
    """Print a figure and whether it reaches its mark."""
    print(f"{what}: {value:.3g} ({wanted}){'' if good else '   <--'}")
    return good
