"""Export: tuned weights in the forms that other tools take."""
