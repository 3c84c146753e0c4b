"""The rooms of the ULAERegistration module, beside its file: each does one thing for the panel or the logic.

`run` and `outputs` carry a registration from nodes to nodes; `stages` and `maps` show its steps and its quality in the
scene. These four need no Qt. `parameters`, `stepsPanel` and `qualityPanel` are the panel's parts, `dependencies` asks
for missing Python packages, `sampleData` registers data sets, `selfTest` is the module's test inside Slicer.
"""
