/* Physics steps in a row: bullet_steps.py, compiled. What each argument means is said there. */
#include "../compiled.h"

typedef struct {
    PyObject_HEAD
    PyObject *command, *step, *read; /* PyBullet's */
    PyObject *about, *world;         /* their arguments: (body, joints, client) and (client,) */
    PyObject *mode, *nothing;
    PyObject *own, *whole, *known; /* NULL where there is none */
} Steps;

static int kept(PyObject **place, PyObject *given)
{
    PyObject *old = *place;
    *place = given == Py_None ? NULL : given;
    Py_XINCREF(*place);
    Py_XDECREF(old);
    return 1;
}

static int Steps_init(Steps *self, PyObject *arguments, PyObject *names)
{
    static char *keys[] = {"command", "step", "read", "body", "joints", "client", "mode", "nothing", "own", "whole", "known", NULL};
    PyObject *command, *step, *read, *body, *joints, *client, *mode, *nothing, *own, *whole, *known;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "OOOOOOOOOOO", keys, &command, &step, &read, &body, &joints, &client, &mode,
                                     &nothing, &own, &whole, &known))
        return -1;
    kept(&self->command, command);
    kept(&self->step, step);
    kept(&self->read, read);
    kept(&self->mode, mode);
    kept(&self->nothing, nothing);
    kept(&self->own, own);
    kept(&self->whole, whole);
    kept(&self->known, known);
    Py_XSETREF(self->about, PyTuple_Pack(3, body, joints, client));
    Py_XSETREF(self->world, PyTuple_Pack(1, client));
    return self->about != NULL && self->world != NULL ? 0 : -1;
}

static int Steps_traverse(Steps *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->command);
    Py_VISIT(self->step);
    Py_VISIT(self->read);
    Py_VISIT(self->about);
    Py_VISIT(self->world);
    Py_VISIT(self->nothing);
    Py_VISIT(self->own);
    Py_VISIT(self->whole);
    Py_VISIT(self->known);
    return 0;
}

static int Steps_clear(Steps *self)
{
    Py_CLEAR(self->command);
    Py_CLEAR(self->step);
    Py_CLEAR(self->read);
    Py_CLEAR(self->about);
    Py_CLEAR(self->world);
    Py_CLEAR(self->mode);
    Py_CLEAR(self->nothing);
    Py_CLEAR(self->own);
    Py_CLEAR(self->whole);
    Py_CLEAR(self->known);
    return 0;
}

static void Steps_dealloc(Steps *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Steps_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* The states of the joints. */
static PyObject *states(Steps *self)
{
    return PyObject_Call(self->read, self->about, NULL);
}

/* Applies `effort` [coordinates], in place of which rotors have something to say where the joints are in the states `found`, and
lets a step pass. */
static int pass(Steps *self, PyObject *effort, PyObject *rotors, PyObject *found)
{
    PyObject *applied = self->own != NULL ? PyObject_CallOneArg(self->own, effort) : Py_NewRef(effort);
    if (applied != NULL && rotors != Py_None) {
        PyObject *given[2] = {applied, found};
        PyObject *turned = PyObject_Vectorcall(rotors, given, 2, NULL);
        Py_SETREF(applied, turned);
    }
    if (applied == NULL)
        return 0;
    PyObject *none = self->nothing, *about = self->about;
    PyObject *all = PyTuple_Pack(9, PyTuple_GET_ITEM(about, 0), PyTuple_GET_ITEM(about, 1), self->mode, none, none, applied, none,
                                 none, PyTuple_GET_ITEM(about, 2));
    Py_DECREF(applied);
    PyObject *told = all == NULL ? NULL : PyObject_Call(self->command, all, NULL);
    Py_XDECREF(all);
    PyObject *gone = told == NULL ? NULL : PyObject_Call(self->step, self->world, NULL);
    Py_XDECREF(told);
    Py_XDECREF(gone);
    return gone != NULL;
}

/* The states of all coordinates, now or as far as they are known, for the joints' states `found`, whose reference is taken. */
static PyObject *completed(PyObject *how, PyObject *found)
{
    if (how == NULL || found == NULL)
        return found;
    PyObject *rows = PyObject_CallOneArg(how, found);
    Py_DECREF(found);
    return rows;
}

static PyObject *Steps_run(Steps *self, PyObject *const *given, Py_ssize_t number)
{
    if (number != 4 || !holds(given[0], 0) || !holds(given[1], 0)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "run takes efforts, looked, rotors and turning");
        return NULL;
    }
    PyObject *efforts = given[0], *looked = given[1], *rotors = given[2];
    Py_ssize_t steps = PySequence_Fast_GET_SIZE(looked);
    int turning = PyObject_IsTrue(given[3]) && rotors != Py_None;
    if (PySequence_Fast_GET_SIZE(efforts) != steps) {
        PyErr_SetString(PyExc_ValueError, "there are not as many efforts as steps");
        return NULL;
    }
    PyObject *seen = PyList_New(0), *still = PyTuple_New(0);
    int fine = seen != NULL && still != NULL;
    for (Py_ssize_t step = 0; fine && step < steps; step++) {
        PyObject *found = turning ? states(self) : Py_NewRef(still);
        fine = found != NULL && pass(self, PySequence_Fast_GET_ITEM(efforts, step), rotors, found);
        Py_XDECREF(found);
        if (fine && PyObject_IsTrue(PySequence_Fast_GET_ITEM(looked, step))) {
            PyObject *rows = completed(self->whole, states(self));
            fine = rows != NULL && PyList_Append(seen, rows) == 0;
            Py_XDECREF(rows);
        }
    }
    Py_XDECREF(still);
    if (!fine)
        Py_CLEAR(seen);
    return seen;
}

static PyObject *Steps_serve(Steps *self, PyObject *const *given, Py_ssize_t number)
{
    if (number != 5 || !holds(given[3], 0)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "serve takes servo, first, rows, looked and rotors");
        return NULL;
    }
    PyObject *servo = given[0], *looked = given[3], *rotors = given[4];
    Py_ssize_t first = PyLong_AsSsize_t(given[1]), steps = PySequence_Fast_GET_SIZE(looked);
    if (first == -1 && PyErr_Occurred())
        return NULL;
    PyObject *rows = Py_NewRef(given[2]), *seen = PyList_New(0), *efforts = PyList_New(0);
    PyObject *found = self->own != NULL ? PyObject_CallOneArg(self->own, rows) : Py_NewRef(rows);
    int fine = seen != NULL && efforts != NULL && found != NULL;
    for (Py_ssize_t step = 0; fine && step < steps; step++) {
        int look = PyObject_IsTrue(PySequence_Fast_GET_ITEM(looked, step));
        PyObject *asked[2] = {PyLong_FromSsize_t(first + step), rows};
        PyObject *effort = asked[0] == NULL ? NULL : PyObject_Vectorcall(servo, asked, 2, NULL);
        Py_XDECREF(asked[0]);
        fine = effort != NULL && PyList_Append(efforts, effort) == 0 && pass(self, effort, rotors, found);
        Py_XDECREF(effort);
        if (!fine || (!look && step + 1 == steps))
            continue;
        Py_SETREF(found, states(self));
        Py_XINCREF(found);
        Py_SETREF(rows, completed(look ? self->whole : self->known, found));
        if (rows == NULL) {
            fine = 0;
            break;
        }
        if (look)
            fine = PyList_Append(seen, rows) == 0;
    }
    PyObject *both = fine ? PyTuple_Pack(2, seen, efforts) : NULL;
    Py_XDECREF(found);
    Py_XDECREF(rows);
    Py_XDECREF(seen);
    Py_XDECREF(efforts);
    return both;
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))Steps_run, METH_FASTCALL, NULL},
    {"serve", (PyCFunction)(void (*)(void))Steps_serve, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Physics steps of a robot in PyBullet; see forerun_sim.engines.bullet_steps.Steps."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, Steps_init},
    {Py_tp_traverse, Steps_traverse},
    {Py_tp_clear, Steps_clear},
    {Py_tp_dealloc, Steps_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    "forerun_sim.engines._bullet_steps.Steps", sizeof(Steps), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_bullet_steps", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__bullet_steps(void)
{
    return module_of(&module, &spec, "Steps");
}
