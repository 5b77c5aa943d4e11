"""Room 1, the camera: from frames to sightings, and to the collector without losing one."""
