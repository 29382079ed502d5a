/* What rotors, damping and dry friction make of the motors' efforts: rotor_efforts.py, compiled. What it reckons is said there.

Every product and sum stands in the order in which Python takes it, so that both give the same bits; the compiler is told not to
contract them (setup.py). */
#include "../compiled.h"

#define STALE 0.1 /* rad or m */
#define ARRAYS 11

typedef struct {
    PyObject_HEAD
    Py_ssize_t count; /* of joints, J */
    double rate;
    PyObject *find; /* R at positions */
    double *memory; /* all that follows: [J] each, and reach [J, J] */
    double *damping, *rotors, *coulomb, *at, *stiction, *speeds, *change, *last, *before, *speeding, *wanted, *reach;
} RotorEfforts;

/* Asks for R where the joints are at self->at. */
static int renew(RotorEfforts *self)
{
    PyObject *at = listed(self->at, self->count);
    PyObject *rows = at == NULL ? NULL : PyObject_CallOneArg(self->find, at);
    Py_XDECREF(at);
    int fine = rows != NULL && holds(rows, self->count);
    for (Py_ssize_t joint = 0; fine && joint < self->count; joint++)
        fine = numbers(PySequence_Fast_GET_ITEM(rows, joint), self->reach + joint * self->count, self->count);
    Py_XDECREF(rows);
    return fine;
}

static int RotorEfforts_init(RotorEfforts *self, PyObject *arguments, PyObject *names)
{
    static char *keys[] = {"step", "damping", "rotors", "coulomb", "reach", "position", NULL};
    PyObject *damping, *rotors, *coulomb, *find, *position;
    double step;
    if (!PyArg_ParseTupleAndKeywords(
            arguments, names, "dOOOOO", keys, &step, &damping, &rotors, &coulomb, &find, &position) ||
        !holds(position, 1))
        return -1;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(position);
    double *memory = PyMem_Calloc(count * (ARRAYS + count), sizeof(double));
    if (memory == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(self->memory);
    self->memory = memory;
    double **arrays[ARRAYS] = {&self->damping, &self->rotors, &self->coulomb, &self->at, &self->stiction, &self->speeds,
                               &self->change,  &self->last,   &self->before,  &self->speeding, &self->wanted};
    for (Py_ssize_t place = 0; place < ARRAYS; place++)
        *arrays[place] = memory + place * count;
    self->reach = memory + ARRAYS * count;
    self->count = count;
    self->rate = 1.0 / step;
    Py_INCREF(find);
    Py_XSETREF(self->find, find);
    if (!numbers(damping, self->damping, count) || !numbers(rotors, self->rotors, count) ||
        !numbers(coulomb, self->coulomb, count) || !numbers(position, self->at, count))
        return -1;
    return renew(self) ? 0 : -1;
}

static int RotorEfforts_traverse(RotorEfforts *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->find);
    return 0;
}

static int RotorEfforts_clear(RotorEfforts *self)
{
    Py_CLEAR(self->find);
    return 0;
}

static void RotorEfforts_dealloc(RotorEfforts *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    RotorEfforts_clear(self);
    PyMem_Free(self->memory);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *RotorEfforts_start(RotorEfforts *self, PyObject *const *given, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "start takes speeds and change");
        return NULL;
    }
    if (!numbers(given[0], self->speeds, self->count) || !numbers(given[1], self->change, self->count))
        return NULL;
    memset(self->last, 0, self->count * sizeof(double));
    memset(self->before, 0, self->count * sizeof(double));
    Py_RETURN_NONE;
}

/* Dry friction of one joint, from that of the last step on. */
static void rub(RotorEfforts *self, Py_ssize_t joint)
{
    Py_ssize_t count = self->count;
    double most = self->coulomb[joint], kept = self->stiction[joint];
    double found = kept - (self->speeds[joint] * self->rate + self->speeding[joint]) / self->reach[joint * count + joint];
    found = found > most ? most : found < -most ? -most : found;
    if (found == kept)
        return;
    double change = found - kept;
    self->stiction[joint] = found;
    self->wanted[joint] += change;
    for (Py_ssize_t other = 0; other < count; other++)
        self->speeding[other] += self->reach[other * count + joint] * change;
}

static PyObject *RotorEfforts_efforts(RotorEfforts *self, PyObject *const *given, Py_ssize_t number)
{
    Py_ssize_t count = self->count;
    if (number != 2) {
        PyErr_SetString(PyExc_TypeError, "efforts takes effort and rows");
        return NULL;
    }
    if (!numbers(given[0], self->wanted, count) || !holds(given[1], count))
        return NULL;
    int moved = 0;
    double *applied = self->before; /* what was applied two steps ago is needed once, and then gives its place */
    for (Py_ssize_t joint = 0; joint < count; joint++) {
        double state[2];
        if (!numbers(PySequence_Fast_GET_ITEM(given[1], joint), state, 2))
            return NULL;
        double speed = state[1];
        moved |= state[0] - self->at[joint] > STALE || self->at[joint] - state[0] > STALE;
        double change = (speed - self->speeds[joint]) * self->rate;
        double guess = change + change - self->change[joint];
        double want = self->wanted[joint] - self->damping[joint] * speed + self->stiction[joint];
        self->speeds[joint] = speed;
        self->change[joint] = change;
        self->speeding[joint] = guess;
        self->wanted[joint] = want;
        applied[joint] = want - self->last[joint] - self->last[joint] + self->before[joint] - self->rotors[joint] * guess;
    }
    if (moved) {
        for (Py_ssize_t joint = 0; joint < count; joint++) {
            double place;
            if (!numbers(PySequence_Fast_GET_ITEM(given[1], joint), &place, 1))
                return NULL;
            self->at[joint] = place;
        }
        if (!renew(self))
            return NULL;
    }
    for (Py_ssize_t joint = 0; joint < count; joint++) {
        double reached = 0.0;
        for (Py_ssize_t other = 0; other < count; other++)
            reached += self->reach[joint * count + other] * applied[other];
        self->speeding[joint] += reached;
    }
    for (Py_ssize_t joint = 0; joint < count; joint++)
        if (self->coulomb[joint] > 0.0)
            rub(self, joint);
    for (Py_ssize_t joint = 0; joint < count; joint++)
        applied[joint] = self->wanted[joint] - self->rotors[joint] * self->speeding[joint];
    self->before = self->last;
    self->last = applied;
    return listed(applied, count);
}

static PyMethodDef methods[] = {
    {"start", (PyCFunction)(void (*)(void))RotorEfforts_start, METH_FASTCALL, NULL},
    {"efforts", (PyCFunction)(void (*)(void))RotorEfforts_efforts, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Rotors as efforts; see forerun_sim.engines.rotor_efforts.RotorEfforts."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, RotorEfforts_init},
    {Py_tp_traverse, RotorEfforts_traverse},
    {Py_tp_clear, RotorEfforts_clear},
    {Py_tp_dealloc, RotorEfforts_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    "forerun_sim.engines._rotor_efforts.RotorEfforts", sizeof(RotorEfforts), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_rotor_efforts", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__rotor_efforts(void)
{
    return module_of(&module, &spec, "RotorEfforts");
}
