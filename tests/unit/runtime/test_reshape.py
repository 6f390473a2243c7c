import numpy as np

from shoal_server.runtime.reshape import Reshape


def test_callers_send_another_shape_than_the_model_takes() -> None:
    reshape = Reshape(seen=("", 1), own=("",))
    assert reshape.to_model(np.zeros((5, 1))).shape == (5,)
    assert reshape.to_caller(np.zeros(5)).shape == (5, 1)


def test_dimensions_of_any_size_keep_their_order() -> None:
    reshape = Reshape(seen=("", "", 6, ""), own=("", 2, "", 3, ""))
    assert reshape.to_model(np.zeros((4, 0, 6, 7))).shape == (4, 2, 0, 3, 7)
    assert reshape.to_caller(np.zeros((4, 2, 0, 3, 7))).shape == (4, 0, 6, 7)
