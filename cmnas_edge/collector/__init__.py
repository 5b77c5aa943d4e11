"""Room 2, the box in the middle: sightings in, probable people out.

`receiving` takes batches, `intake` commits them to the `store` before it answers, and the
`gallery` (its decisions are made in `matching`) is what the last hours look like in memory.
`web` serves the API and the pages.
"""
