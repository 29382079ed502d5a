/* What the compiled inner loops share: numbers out of Python's sequences, and a module of one class. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Whether `row` is a list or tuple of `count` items or more; sets a TypeError where it is not. */
static inline int holds(PyObject *row, Py_ssize_t count)
{
    if ((PyList_Check(row) || PyTuple_Check(row)) && PySequence_Fast_GET_SIZE(row) >= count)
        return 1;
    PyErr_Format(PyExc_TypeError, "needs a list or tuple of %zd items, got %R", count, row);
    return 0;
}

/* Copies the `count` numbers of the list or tuple `row` to `into`; 0 with an exception where that fails. */
static inline int numbers(PyObject *row, double *into, Py_ssize_t count)
{
    if (!holds(row, count))
        return 0;
    for (Py_ssize_t place = 0; place < count; place++) {
        into[place] = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(row, place));
        if (into[place] == -1.0 && PyErr_Occurred())
            return 0;
    }
    return 1;
}

/* A list of `count` numbers. */
static inline PyObject *listed(const double *values, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t place = 0; list != NULL && place < count; place++) {
        PyObject *number = PyFloat_FromDouble(values[place]);
        if (number == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, place, number);
    }
    return list;
}

/* The module of `definition` with the class of `spec`, called `name`. */
static inline PyObject *module_of(struct PyModuleDef *definition, PyType_Spec *spec, const char *name)
{
    PyObject *made = PyModule_Create(definition), *type = PyType_FromSpec(spec);
    if (made == NULL || type == NULL || PyModule_AddObject(made, name, type) < 0) {
        Py_XDECREF(type);
        Py_XDECREF(made);
        return NULL;
    }
    return made;
}
