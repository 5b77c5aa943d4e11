"""What a daemon says of itself while it runs: to systemd, to Prometheus, and to who asks whether it is well.

All of it is read off one snapshot, `vitals.Vitals`; nothing here touches a frame or a vector.
"""
