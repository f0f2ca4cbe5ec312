"""CT archive and reports in, a store of anatomy crops and anatomy-level text out; importable without torch."""
