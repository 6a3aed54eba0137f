"""The main job as a story: chapters, what must hold in each, and who tells it."""
