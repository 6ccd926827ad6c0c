"""A recorded attempt, run again with the same code, kernel, values and inputs, and compared.

Above the step, whose parts it reuses, and below whoever launches steps: what is set up here is run
by the same command as any other step, in a store of its own, and never touches what is current.
"""
