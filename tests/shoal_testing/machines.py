"""State machines run as tests, with a failure that is told in time."""

from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run_quickly(machine: type[RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """Tell a failure as it was found: to shrink it takes minutes, and a test that is ended then tells nothing."""
    phases = [phase for phase in Phase if phase is not Phase.shrink]
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=steps, phases=phases)
    )


def run_for_long(machine: type[RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """Shrink what fails, however long that takes."""
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=steps))
