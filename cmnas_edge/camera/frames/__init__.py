"""Where frames come from: recorded footage that loses none, live cameras of which only the newest counts."""
