/* What encoders make of true positions and velocities: encoders.py, compiled. What it reckons is said there.

Every product and sum stands in the order in which Python takes it, so that both give the same bits; the compiler is told not to
contract them (setup.py). */
#include "../compiled.h"
#include <math.h>

typedef struct {
    PyObject_HEAD
    Py_ssize_t count, own; /* joints, J; where the noise of velocities begins */
    double fine, rough;
    double *memory; /* all that follows */
    double *bias, *reported, *past, *noise; /* [J], [J], [J], [4 J] */
} Encoders;

static int Encoders_init(Encoders *self, PyObject *arguments, PyObject *names)
{
    static char *keys[] = {"bias", "fine", "rough", "own", NULL};
    PyObject *bias;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "Oddn", keys, &bias, &self->fine, &self->rough, &self->own) ||
        !holds(bias, 0))
        return -1;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(bias);
    double *memory = PyMem_Calloc(7 * count + 1, sizeof(double));
    if (memory == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(self->memory);
    self->memory = self->bias = memory;
    self->reported = memory + count;
    self->past = memory + 2 * count;
    self->noise = memory + 3 * count;
    self->count = count;
    if (self->own < 0 || self->own > 3 * count) {
        PyErr_SetString(PyExc_ValueError, "the noise of velocities begins outside of all noise");
        return -1;
    }
    return numbers(bias, self->bias, count) ? 0 : -1;
}

static void Encoders_dealloc(Encoders *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_Free(self->memory);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* A whole number of quanta, half of one to the even side; Python's round knows no negative 0. */
static double counted(double value, double quantum)
{
    return quantum != 0.0 ? (rint(value / quantum) + 0.0) * quantum : value;
}

/* Position and velocity of a joint, the first two of its row. */
static int state_of(PyObject *rows, Py_ssize_t joint, double *state)
{
    return numbers(PySequence_Fast_GET_ITEM(rows, joint), state, 2);
}

/* Writes a reading between the moments `old` and `new` (tuples of step, rows, efforts) to `values` [3 J]. */
static int encode(
    Encoders *self, double *values, PyObject *old, PyObject *new, double part, double slip, double wander, int apart, double passed)
{
    Py_ssize_t count = self->count;
    if (!holds(old, 3) || !holds(new, 3))
        return 0;
    PyObject *rows = PySequence_Fast_GET_ITEM(old, 1), *following = PySequence_Fast_GET_ITEM(new, 1);
    if (!holds(rows, count) || !holds(following, count))
        return 0;
    for (Py_ssize_t joint = 0; joint < count; joint++) {
        double here[2], then[2];
        double off = self->bias[joint] = self->bias[joint] + wander * self->noise[3 * count + joint];
        if (!state_of(rows, joint, here))
            return 0;
        double speed = here[1], where = here[0] - slip * speed;
        if (part != 0.0) {
            if (!state_of(following, joint, then))
                return 0;
            where += part * (then[0] - where);
            speed += part * (then[1] - speed);
        }
        where += self->noise[joint] + off;
        where = counted(where, self->fine);
        if (passed > 0.0) {
            double before = self->reported[joint];
            if (apart)
                before = counted(self->past[joint] + (self->noise[count + joint] + off), self->fine);
            speed = (where - before) / passed;
        }
        speed += self->noise[self->own + joint];
        values[joint] = self->reported[joint] = where;
        values[count + joint] = counted(speed, self->rough);
    }
    double *efforts = values + 2 * count;
    if (!numbers(PySequence_Fast_GET_ITEM(old, 2), efforts, count))
        return 0;
    if (part != 0.0) {
        PyObject *later = PySequence_Fast_GET_ITEM(new, 2);
        if (!holds(later, count))
            return 0;
        for (Py_ssize_t joint = 0; joint < count; joint++) {
            double then = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(later, joint));
            efforts[joint] = efforts[joint] + part * (then - efforts[joint]);
        }
    }
    return !PyErr_Occurred();
}

static PyObject *Encoders_read(Encoders *self, PyObject *const *given, Py_ssize_t number)
{
    if (number != 9) {
        PyErr_SetString(PyExc_TypeError, "read takes values, old, new, part, slip, noise, wander, past and passed");
        return NULL;
    }
    double part = PyFloat_AsDouble(given[3]), slip = PyFloat_AsDouble(given[4]);
    double wander = PyFloat_AsDouble(given[6]), passed = PyFloat_AsDouble(given[8]);
    int apart = given[7] != Py_None;
    if (PyErr_Occurred() || !numbers(given[5], self->noise, 4 * self->count) ||
        (apart && !numbers(given[7], self->past, self->count)))
        return NULL;
    Py_buffer values;
    if (PyObject_GetBuffer(given[0], &values, PyBUF_WRITABLE) < 0)
        return NULL;
    int fine = 0;
    if (values.len != (Py_ssize_t)(3 * self->count * sizeof(double)))
        PyErr_SetString(PyExc_ValueError, "values must have three numbers a joint");
    else
        fine = encode(self, values.buf, given[1], given[2], part, slip, wander, apart, passed);
    PyBuffer_Release(&values);
    if (!fine)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"read", (PyCFunction)(void (*)(void))Encoders_read, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The encoders of a robot; see forerun_sim.sensors.encoders.Encoders."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, Encoders_init},
    {Py_tp_dealloc, Encoders_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {"forerun_sim.sensors._encoders.Encoders", sizeof(Encoders), 0, Py_TPFLAGS_DEFAULT, slots};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_encoders", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__encoders(void)
{
    return module_of(&module, &spec, "Encoders");
}
