"""The models; their public door is `larq_insta.models`."""
