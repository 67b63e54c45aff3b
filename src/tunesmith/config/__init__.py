"""The config: one YAML file of flat Axolotl keys, checked and frozen before anything slow starts."""
