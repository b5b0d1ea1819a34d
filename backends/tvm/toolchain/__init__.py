"""From object files to something that runs on a device.

The parts: `machines` (what there is), `compilers` (who links for it), `runtime` (TVM's libraries for it), `bundle`
(effc-run and what it needs, built for it), `device` (run an artifact there, or in an emulator).
"""
