"""Keeps audiences of a warehouse in step with Kognitiv, MoEngage, CrowdTwist and Agillic."""
