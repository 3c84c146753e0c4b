"""The parts of the ULAERegistration module, beside its file: each does one thing for the panel or the logic.

`run` and `outputs` carry a registration from nodes to nodes, with `copies` of what is carried along and the changes to
the scene by `nodes`; `stages` and `maps` show its steps and its quality in the scene. These need no Qt.
`follower` looks after a registration that nobody waits for. `registerPanel`, `stepsPanel` and `qualityPanel` are the
panel's sections, with `parameters` behind them and the `views` they show volumes in; `licence` asks for consent once,
`dependencies` for missing Python packages, `sampleData` registers data sets, and `selfTest` is the module's test inside
Slicer.
"""
