"""What `ml edge package` puts beside a model: these files run on the device, as they stand."""
