"""The parts of the report's page, as HTML and SVG."""
