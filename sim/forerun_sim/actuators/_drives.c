/* The drives of all joints in one physics step: drives.py, compiled. What each number means is said there and in parts.py.

Every product and sum stands in the order in which Python takes it, so that both give the same bits; the compiler is told not to
contract them (setup.py). */
#include "../compiled.h"
#include <math.h>

#define FIGURES 12 /* of parts.Figures, behind the index */
#define CREEP 0.02

typedef struct {
    Py_ssize_t index;
    double forward, stiffness, damping, limit, keep, strength, top, half, inertia, stiction, slow, share;
    double output, lead, speed;
    int crossing; /* whether `speed` is the rotor's own */
} Drive;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count, joints; /* joints: one more than the largest index */
    double step;
    int lags;
    Drive *drives;
    double *row; /* [joints or more], as long as `width` */
    Py_ssize_t width;
    double *asked; /* by `ask`: [parts, 1 + count], until which step each counts, and what it forwards; behind them */
    double *held;  /* [holding] */
    Py_ssize_t parts, holding;
} Drives;

static int Drives_init(Drives *self, PyObject *arguments, PyObject *names)
{
    static char *keys[] = {"figures", "step", NULL};
    PyObject *figures;
    double step;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "Od", keys, &figures, &step) || !holds(figures, 0))
        return -1;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(figures);
    PyMem_Free(self->drives);
    self->drives = PyMem_Calloc(count ? count : 1, sizeof(Drive));
    if (self->drives == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->count = count;
    self->step = step;
    self->lags = 0;
    self->joints = self->parts = 0;
    for (Py_ssize_t slot = 0; slot < count; slot++) {
        PyObject *given = PySequence_Fast_GET_ITEM(figures, slot);
        Drive *drive = &self->drives[slot];
        double all[1 + FIGURES];
        if (!numbers(given, all, 1 + FIGURES))
            return -1;
        drive->index = (Py_ssize_t)all[0];
        memcpy(&drive->forward, all + 1, FIGURES * sizeof(double));
        self->lags |= drive->keep != 0.0;
        if (drive->index < 0) {
            PyErr_SetString(PyExc_ValueError, "the index of a joint is negative");
            return -1;
        }
        if (drive->index >= self->joints)
            self->joints = drive->index + 1;
    }
    return 0;
}

static void Drives_dealloc(Drives *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_Free(self->drives);
    PyMem_Free(self->row);
    PyMem_Free(self->asked);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* The efforts that are held [J], in self->row; their number, or -1. */
static Py_ssize_t hold(Drives *self, PyObject *held)
{
    if (!holds(held, self->joints))
        return -1;
    Py_ssize_t width = PySequence_Fast_GET_SIZE(held);
    if (width > self->width) {
        double *row = PyMem_Realloc(self->row, width * sizeof(double));
        if (row == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        self->row = row;
        self->width = width;
    }
    return numbers(held, self->row, width) ? width : -1;
}

static PyObject *Drives_moving(Drives *self, PyObject *Py_UNUSED(nothing))
{
    PyObject *list = PyList_New(self->count);
    for (Py_ssize_t slot = 0; list != NULL && slot < self->count; slot++) {
        Drive *drive = &self->drives[slot];
        PyObject *row = drive->crossing ? Py_BuildValue("(ddd)", drive->output, drive->lead, drive->speed)
                                        : Py_BuildValue("(ddO)", drive->output, drive->lead, Py_None);
        if (row == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, slot, row);
    }
    return list;
}

static PyObject *Drives_resume(Drives *self, PyObject *moving)
{
    if (!holds(moving, self->count))
        return NULL;
    for (Py_ssize_t slot = 0; slot < self->count; slot++) {
        Drive *drive = &self->drives[slot];
        PyObject *row = PySequence_Fast_GET_ITEM(moving, slot);
        double before[2];
        if (!holds(row, 3) || !numbers(row, before, 2))
            return NULL;
        PyObject *speed = PySequence_Fast_GET_ITEM(row, 2);
        drive->output = before[0];
        if (drive->half <= 0.0)
            continue;
        double lead = before[1] > -drive->half ? before[1] : -drive->half;
        drive->lead = lead < drive->half ? lead : drive->half;
        drive->crossing = speed != Py_None;
        drive->speed = drive->crossing ? PyFloat_AsDouble(speed) : 0.0;
        if (PyErr_Occurred())
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *Drives_forwarded(Drives *self, PyObject *const *given, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "forwarded takes parts and held");
        return NULL;
    }
    PyObject *parts = given[0];
    if (!holds(parts, 0))
        return NULL;
    PyObject *efforts = PyList_New(0);
    for (Py_ssize_t part = 0; efforts != NULL && part < PySequence_Fast_GET_SIZE(parts); part++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(parts, part), *row = NULL;
        if (!holds(pair, 2))
            goto failed;
        Py_ssize_t steps = PyLong_AsSsize_t(PySequence_Fast_GET_ITEM(pair, 0));
        PyObject *command = PySequence_Fast_GET_ITEM(pair, 1);
        if ((steps == -1 && PyErr_Occurred()) || !holds(command, self->count))
            goto failed;
        for (Py_ssize_t step = 0; step < steps; step++) {
            if (row == NULL || self->lags) {
                Py_ssize_t width = hold(self, given[1]);
                Py_CLEAR(row);
                if (width < 0)
                    goto failed;
                for (Py_ssize_t slot = 0; slot < self->count; slot++) {
                    Drive *drive = &self->drives[slot];
                    double demand = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(command, slot));
                    if (self->lags)
                        demand = drive->output = demand + drive->keep * (drive->output - demand);
                    self->row[drive->index] += drive->strength * demand;
                }
                if (PyErr_Occurred() || (row = listed(self->row, width)) == NULL)
                    goto failed;
            }
            if (PyList_Append(efforts, row) < 0) {
                Py_DECREF(row);
                goto failed;
            }
        }
        Py_XDECREF(row);
    }
    return efforts;
failed:
    Py_DECREF(efforts);
    return NULL;
}

/* What arrives at the joint of the motor's effort: parts.Gear.passed. */
static double passed(Drive *drive, double effort, double speed, double step)
{
    double lead = drive->lead, half = drive->half;
    if (effort * lead > 0.0 && !(-half < lead && lead < half)) {
        drive->crossing = 0;
        return effort;
    }
    if (drive->inertia <= 0.0) {
        if (effort != 0.0)
            drive->lead = copysign(half, effort);
        return effort;
    }
    double own = (drive->crossing ? drive->speed : speed) + step * effort / drive->inertia;
    lead += step * (own - speed);
    drive->crossing = -half < lead && lead < half;
    drive->lead = drive->crossing ? lead : copysign(half, lead);
    drive->speed = own;
    return 0.0;
}

/* What is left of an effort: parts.Losses.left. */
static double left(const Drive *drive, double effort, double speed)
{
    double slowness = speed / drive->slow;
    double lost = drive->share * fabs(effort) + (fabs(slowness) < 6.0 ? drive->stiction * exp(-slowness * slowness) : 0.0);
    return effort - lost * tanh(speed / CREEP);
}

static PyObject *Drives_ask(Drives *self, PyObject *const *given, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "ask takes parts and held");
        return NULL;
    }
    Py_ssize_t width = hold(self, given[1]), steps = 0;
    if (width < 0 || !holds(given[0], 0))
        return NULL;
    Py_ssize_t parts = PySequence_Fast_GET_SIZE(given[0]);
    self->parts = 0;
    double *asked = PyMem_Realloc(self->asked, (parts * (self->count + 1) + width + 1) * sizeof(double));
    if (asked == NULL)
        return PyErr_NoMemory();
    self->asked = asked;
    for (Py_ssize_t part = 0; part < parts; part++, asked += self->count + 1) {
        PyObject *pair = PySequence_Fast_GET_ITEM(given[0], part);
        if (!holds(pair, 2) || !numbers(PySequence_Fast_GET_ITEM(pair, 1), asked + 1, self->count))
            return NULL;
        steps += PyLong_AsSsize_t(PySequence_Fast_GET_ITEM(pair, 0));
        if (PyErr_Occurred())
            return NULL;
        asked[0] = (double)steps;
        for (Py_ssize_t slot = 0; slot < self->count; slot++)
            asked[1 + slot] *= self->drives[slot].forward;
    }
    memcpy(asked, self->row, width * sizeof(double));
    self->held = asked;
    self->holding = width;
    self->parts = parts;
    Py_RETURN_NONE;
}

static PyObject *Drives_effort(Drives *self, PyObject *const *given, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "effort takes ahead and rows");
        return NULL;
    }
    PyObject *rows = given[1];
    Py_ssize_t ahead = PyLong_AsSsize_t(given[0]);
    if (PyErr_Occurred() || !holds(rows, self->joints))
        return NULL;
    double *asked = self->asked;
    Py_ssize_t part = 0;
    while (part < self->parts && (double)ahead >= asked[0]) {
        part++;
        asked += self->count + 1;
    }
    if (ahead < 0 || part == self->parts) {
        PyErr_SetString(PyExc_IndexError, "this step was not asked for");
        return NULL;
    }
    memcpy(self->row, self->held, self->holding * sizeof(double));
    for (Py_ssize_t slot = 0; slot < self->count; slot++) {
        Drive *drive = &self->drives[slot];
        double forwarded = asked[1 + slot], state[2];
        if (!numbers(PySequence_Fast_GET_ITEM(rows, drive->index), state, 2))
            return NULL;
        double position = state[0], speed = state[1], felt = speed, limit = drive->limit;
        if (drive->half > 0.0) {
            position += drive->lead;
            felt = drive->crossing ? drive->speed : speed;
        }
        double demand = forwarded - drive->stiffness * position - drive->damping * felt;
        if (drive->top != 0.0 && demand * felt > 0.0) {
            double rest = 1.0 - fabs(felt) / drive->top;
            limit *= rest > 0.0 ? rest : 0.0;
        }
        demand = demand > limit ? limit : demand < -limit ? -limit : demand;
        if (drive->keep != 0.0)
            demand += drive->keep * (drive->output - demand);
        drive->output = demand;
        double arrived = drive->strength * demand;
        if (drive->half > 0.0)
            arrived = passed(drive, arrived, speed, self->step);
        if (drive->stiction > 0.0 || drive->share > 0.0)
            arrived = left(drive, arrived, speed);
        self->row[drive->index] += arrived;
    }
    return listed(self->row, self->holding);
}

static PyMethodDef methods[] = {
    {"moving", (PyCFunction)Drives_moving, METH_NOARGS, NULL},
    {"resume", (PyCFunction)Drives_resume, METH_O, NULL},
    {"forwarded", (PyCFunction)(void (*)(void))Drives_forwarded, METH_FASTCALL, NULL},
    {"ask", (PyCFunction)(void (*)(void))Drives_ask, METH_FASTCALL, NULL},
    {"effort", (PyCFunction)(void (*)(void))Drives_effort, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The drives of a robot; see forerun_sim.actuators.drives.Drives."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, Drives_init},
    {Py_tp_dealloc, Drives_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {"forerun_sim.actuators._drives.Drives", sizeof(Drives), 0, Py_TPFLAGS_DEFAULT, slots};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_drives", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__drives(void)
{
    return module_of(&module, &spec, "Drives");
}
