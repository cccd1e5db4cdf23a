"""Reports on runs: what was trained, what it gained and how sure that is, as one page."""
