/* The mass matrix of a tree of joints and its inverse: tree_inertia.py, compiled. What each number means is said there.

Every product and sum stands in the order in which Python takes it, so that both give the same bits; the compiler is told not to
contract them (setup.py). */
#include "../compiled.h"
#include "spatial.h"

#define JOINT 17
#define LINK 20
#define LEAST 1e-15

typedef struct {
    Py_ssize_t parent; /* -1: the base */
    int slides;
    double axis[3], shift[3], turn[9];
    double rotor, turned[9], place[3], axis_now[3], speed[3]; /* where it is, and its motion, in the frame of the base */
} Joint;

typedef struct {
    Py_ssize_t body;
    double turn[9], centre[3], inertia[6];
} Link;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count, links_count, before; /* joints J, links, coordinates of the base */
    Joint *joints;
    Link *links;
    Py_ssize_t *sequence;
    double *bodies, *whole; /* [J + 1, BODY], the base last */
    double *matrix;         /* [before + J, before + J] */
    double *position;       /* [J] */
} TreeInertia;

/* The joints in an order in which each stands behind the one above it. */
static void order(TreeInertia *self)
{
    Py_ssize_t found = 0;
    for (Py_ssize_t wanted = 0; found < self->count; wanted++)
        for (Py_ssize_t joint = 0; joint < self->count; joint++) {
            Py_ssize_t depth = 0;
            for (Py_ssize_t above = self->joints[joint].parent; above >= 0; above = self->joints[above].parent)
                depth++;
            if (depth == wanted)
                self->sequence[found++] = joint;
        }
}

static int read_joint(TreeInertia *self, Py_ssize_t number, PyObject *given)
{
    double row[JOINT];
    if (!numbers(given, row, JOINT))
        return 0;
    Joint *joint = &self->joints[number];
    joint->parent = (Py_ssize_t)row[0];
    joint->slides = row[1] != 0.0;
    memcpy(joint->axis, row + 2, 3 * sizeof(double));
    memcpy(joint->shift, row + 5, 3 * sizeof(double));
    memcpy(joint->turn, row + 8, 9 * sizeof(double));
    return 1;
}

/* Takes over mass, factor, shift of the centre of mass and the rest of one link. */
static void add_link(TreeInertia *self, const Link *link, double mass, double factor, const double *shift)
{
    double moved[3], *body = self->bodies + BODY * (link->body < 0 ? self->count : link->body);
    const double *own = link->inertia;
    turned(link->turn, shift, moved);
    double x = link->centre[0] + moved[0], y = link->centre[1] + moved[1], z = link->centre[2] + moved[2];
    body[0] += mass;
    body[1] += mass * x;
    body[2] += mass * y;
    body[3] += mass * z;
    body[4] += factor * own[0] + mass * (y * y + z * z);
    body[5] += factor * own[1] + mass * (x * x + z * z);
    body[6] += factor * own[2] + mass * (x * x + y * y);
    body[7] += factor * own[3] - mass * (x * y);
    body[8] += factor * own[4] - mass * (x * z);
    body[9] += factor * own[5] - mass * (y * z);
}

static void TreeInertia_free(TreeInertia *self)
{
    PyMem_Free(self->joints);
    PyMem_Free(self->links);
    PyMem_Free(self->sequence);
    PyMem_Free(self->bodies);
    self->joints = NULL;
    self->links = NULL;
    self->sequence = NULL;
    self->bodies = NULL;
}

static int TreeInertia_init(TreeInertia *self, PyObject *arguments, PyObject *names)
{
    static char *keys[] = {"joints", "links", "free", NULL};
    PyObject *joints, *links;
    int moves;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "OOp", keys, &joints, &links, &moves) || !holds(joints, 0) ||
        !holds(links, 0))
        return -1;
    TreeInertia_free(self);
    Py_ssize_t count = PySequence_Fast_GET_SIZE(joints), size = (moves ? 6 : 0) + count;
    self->count = count;
    self->links_count = PySequence_Fast_GET_SIZE(links);
    self->before = moves ? 6 : 0;
    self->joints = PyMem_Calloc(count + 1, sizeof(Joint));
    self->links = PyMem_Calloc(self->links_count + 1, sizeof(Link));
    self->sequence = PyMem_Calloc(count + 1, sizeof(Py_ssize_t));
    self->bodies = PyMem_Calloc(2 * (count + 1) * BODY + size * size + count, sizeof(double));
    if (self->joints == NULL || self->links == NULL || self->sequence == NULL || self->bodies == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->whole = self->bodies + (count + 1) * BODY;
    self->matrix = self->whole + (count + 1) * BODY;
    self->position = self->matrix + size * size;
    for (Py_ssize_t joint = 0; joint < count; joint++)
        if (!read_joint(self, joint, PySequence_Fast_GET_ITEM(joints, joint)))
            return -1;
    for (Py_ssize_t joint = 0; joint < count; joint++)
        if (self->joints[joint].parent < -1 || self->joints[joint].parent >= count) {
            PyErr_SetString(PyExc_ValueError, "a joint moves from a body that is none");
            return -1;
        }
    for (Py_ssize_t number = 0; number < self->links_count; number++) {
        double row[LINK];
        Link *link = &self->links[number];
        if (!numbers(PySequence_Fast_GET_ITEM(links, number), row, LINK))
            return -1;
        link->body = (Py_ssize_t)row[0];
        memcpy(link->turn, row + 2, 9 * sizeof(double));
        memcpy(link->centre, row + 11, 3 * sizeof(double));
        memcpy(link->inertia, row + 14, 6 * sizeof(double));
        if (link->body < -1 || link->body >= count) {
            PyErr_SetString(PyExc_ValueError, "a link belongs to a body that is none");
            return -1;
        }
        add_link(self, link, row[1], 1.0, origin);
    }
    order(self);
    return 0;
}

static void TreeInertia_dealloc(TreeInertia *self)
{
    PyTypeObject *type = Py_TYPE(self);
    TreeInertia_free(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *TreeInertia_load(TreeInertia *self, PyObject *const *given, Py_ssize_t number)
{
    if (number != 4) {
        PyErr_SetString(PyExc_TypeError, "load takes masses, factors, shifts and rotors");
        return NULL;
    }
    if (!holds(given[0], self->links_count) || !holds(given[1], self->links_count) || !holds(given[2], self->links_count) ||
        !numbers(given[3], self->position, self->count))
        return NULL;
    for (Py_ssize_t joint = 0; joint < self->count; joint++)
        self->joints[joint].rotor = self->position[joint];
    memset(self->bodies, 0, (self->count + 1) * BODY * sizeof(double));
    for (Py_ssize_t link = 0; link < self->links_count; link++) {
        double shift[3], mass = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(given[0], link));
        double factor = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(given[1], link));
        if (PyErr_Occurred() || !numbers(PySequence_Fast_GET_ITEM(given[2], link), shift, 3))
            return NULL;
        add_link(self, &self->links[link], mass, factor, shift);
    }
    Py_RETURN_NONE;
}

/* Where the joints are, and what each of them moves, in the frame of the base. */
static void place(TreeInertia *self)
{
    Py_ssize_t count = self->count;
    memcpy(self->whole + count * BODY, self->bodies + count * BODY, BODY * sizeof(double));
    for (Py_ssize_t number = 0; number < count; number++) {
        Joint *joint = &self->joints[self->sequence[number]], *above = joint->parent < 0 ? NULL : &self->joints[joint->parent];
        const double *turn = above == NULL ? unit : above->turned, *from = above == NULL ? origin : above->place;
        double own[9], shift[3], rodrigues[9], *at = joint->place, *axis = joint->axis_now, *speed = joint->speed;
        double moved = self->position[self->sequence[number]];
        product(turn, joint->turn, own);
        turned(turn, joint->shift, shift);
        turned(own, joint->axis, axis);
        for (int part = 0; part < 3; part++)
            at[part] = joint->slides ? from[part] + shift[part] + axis[part] * moved : from[part] + shift[part];
        if (joint->slides) {
            memcpy(joint->turned, own, sizeof own);
            memcpy(speed, axis, 3 * sizeof(double));
            memset(axis, 0, 3 * sizeof(double));
        } else {
            rotated(joint->axis, moved, rodrigues);
            product(own, rodrigues, joint->turned);
            speed[0] = at[1] * axis[2] - at[2] * axis[1];
            speed[1] = at[2] * axis[0] - at[0] * axis[2];
            speed[2] = at[0] * axis[1] - at[1] * axis[0];
        }
        placed(self->bodies + BODY * self->sequence[number], joint->turned, at, self->whole + BODY * self->sequence[number]);
    }
    for (Py_ssize_t number = count - 1; number >= 0; number--) {
        Py_ssize_t joint = self->sequence[number], parent = self->joints[joint].parent;
        double *above = self->whole + BODY * (parent < 0 ? count : parent), *here = self->whole + BODY * joint;
        for (int part = 0; part < BODY; part++)
            above[part] += here[part];
    }
}

/* The lower half of the mass matrix. */
static void fill(TreeInertia *self)
{
    Py_ssize_t before = self->before, size = before + self->count;
    double *matrix = self->matrix, moved[6];
    memset(matrix, 0, size * size * sizeof(double));
    for (Py_ssize_t row = 0; row < before; row++) {
        const double *along = unit + 3 * (row % 3);
        momentum(self->whole + BODY * self->count, row < 3 ? origin : along, row < 3 ? along : origin, moved);
        memcpy(matrix + row * size, moved, (row + 1) * sizeof(double));
    }
    for (Py_ssize_t number = 0; number < self->count; number++) {
        Joint *joint = &self->joints[number];
        double *row = matrix + (before + number) * size;
        momentum(self->whole + BODY * number, joint->axis_now, joint->speed, moved);
        memcpy(row, moved, before * sizeof(double));
        for (Py_ssize_t other = number; other >= 0; other = self->joints[other].parent) {
            Py_ssize_t high = number > other ? number : other, low = number > other ? other : number;
            matrix[(before + high) * size + before + low] =
                dot(self->joints[other].axis_now, moved + 3) + dot(self->joints[other].speed, moved);
        }
        row[before + number] += joint->rotor;
    }
}

/* The inverse of the joints' part takes the place of the lower half of the matrix's last rows and columns. */
static void invert(double *matrix, Py_ssize_t size, Py_ssize_t count)
{
    for (Py_ssize_t row = 0; row < size; row++)
        for (Py_ssize_t column = 0; column <= row; column++) {
            double value = matrix[row * size + column];
            for (Py_ssize_t part = 0; part < column; part++)
                value -= matrix[row * size + part] * matrix[column * size + part];
            matrix[row * size + column] =
                row == column ? sqrt(value > LEAST ? value : LEAST) : value / matrix[column * size + column];
        }
    matrix += (size - count) * size + size - count;
    for (Py_ssize_t column = 0; column < count; column++)
        for (Py_ssize_t row = column; row < count; row++) {
            double value = row == column ? 1.0 : 0.0;
            for (Py_ssize_t part = column; part < row; part++)
                value -= matrix[row * size + part] * matrix[part * size + column];
            matrix[row * size + column] = value / matrix[row * size + row];
        }
    for (Py_ssize_t row = 0; row < count; row++)
        for (Py_ssize_t column = 0; column <= row; column++) {
            double value = 0.0;
            for (Py_ssize_t part = row; part < count; part++)
                value += matrix[part * size + row] * matrix[part * size + column];
            matrix[row * size + column] = value; /* what follows needs rows below this one, and columns up to it, alone */
        }
}

static PyObject *TreeInertia_inverse(TreeInertia *self, PyObject *position)
{
    Py_ssize_t count = self->count, size = self->before + count;
    if (!numbers(position, self->position, count))
        return NULL;
    place(self);
    fill(self);
    invert(self->matrix, size, count);
    double *found = self->matrix + self->before * size + self->before;
    for (Py_ssize_t row = 0; row < count; row++)
        for (Py_ssize_t column = 0; column < row; column++)
            found[column * size + row] = found[row * size + column];
    PyObject *rows = PyList_New(count);
    for (Py_ssize_t row = 0; rows != NULL && row < count; row++) {
        PyObject *made = listed(found + row * size, count);
        if (made == NULL)
            Py_CLEAR(rows);
        else
            PyList_SET_ITEM(rows, row, made);
    }
    return rows;
}

static PyMethodDef methods[] = {
    {"load", (PyCFunction)(void (*)(void))TreeInertia_load, METH_FASTCALL, NULL},
    {"inverse", (PyCFunction)TreeInertia_inverse, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The mass matrix of a robot; see forerun_sim.engines.tree_inertia.TreeInertia."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, TreeInertia_init},
    {Py_tp_dealloc, TreeInertia_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    "forerun_sim.engines._tree_inertia.TreeInertia", sizeof(TreeInertia), 0, Py_TPFLAGS_DEFAULT, slots};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_tree_inertia", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__tree_inertia(void)
{
    return module_of(&module, &spec, "TreeInertia");
}
