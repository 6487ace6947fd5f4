#include <Python.h>

static PyObject *answer(PyObject *self, PyObject *args) { return PyLong_FromLong(42); }

static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, "the answer"}, {nullptr}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "native", nullptr, -1, methods};

PyMODINIT_FUNC PyInit_native(void) { return PyModule_Create(&module); }
