/* Vectors, rotations and bodies on plain doubles: the functions of tree_inertia.py, for its compiled twin. A body is mass, first
moments, and moments about an origin (xx, yy, zz, xy, xz, yz). */
#include <math.h>

#define BODY 10

static const double unit[9] = {1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0}, origin[3] = {0.0, 0.0, 0.0};

static inline double dot(const double *one, const double *other)
{
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2];
}

static inline void turned(const double *turn, const double *vector, double *into)
{
    for (int row = 0; row < 3; row++)
        into[row] = dot(turn + 3 * row, vector);
}

static inline void product(const double *one, const double *other, double *into)
{
    for (int row = 0; row < 3; row++)
        for (int column = 0; column < 3; column++)
            into[3 * row + column] = one[3 * row] * other[column] + one[3 * row + 1] * other[column + 3] +
                                     one[3 * row + 2] * other[column + 6];
}

static inline void rotated(const double *axis, double angle, double *into)
{
    double sine = sin(angle), cosine = cos(angle), rest = 1.0 - cosine, x = axis[0], y = axis[1], z = axis[2];
    into[0] = cosine + rest * x * x;
    into[1] = rest * x * y - sine * z;
    into[2] = rest * x * z + sine * y;
    into[3] = rest * x * y + sine * z;
    into[4] = cosine + rest * y * y;
    into[5] = rest * y * z - sine * x;
    into[6] = rest * x * z - sine * y;
    into[7] = rest * y * z + sine * x;
    into[8] = cosine + rest * z * z;
}

/* Mass, first and second moments of a body in the frame of the base. */
static inline void placed(const double *body, const double *turn, const double *at, double *into)
{
    double mass = body[0], h[3], half[9], spin[6], x = at[0], y = at[1], z = at[2];
    double tensor[9] = {body[4], body[7], body[8], body[7], body[5], body[9], body[8], body[9], body[6]};
    static const int pairs[6][2] = {{0, 0}, {1, 1}, {2, 2}, {0, 1}, {0, 2}, {1, 2}};
    turned(turn, body + 1, h);
    product(turn, tensor, half);
    for (int pair = 0; pair < 6; pair++)
        spin[pair] = dot(half + 3 * pairs[pair][0], turn + 3 * pairs[pair][1]);
    double gx = h[0] + mass * x, gy = h[1] + mass * y, gz = h[2] + mass * z;
    into[0] = mass;
    into[1] = gx;
    into[2] = gy;
    into[3] = gz;
    into[4] = spin[0] + (y * gy + z * gz) + (y * h[1] + z * h[2]);
    into[5] = spin[1] + (x * gx + z * gz) + (x * h[0] + z * h[2]);
    into[6] = spin[2] + (x * gx + y * gy) + (x * h[0] + y * h[1]);
    into[7] = spin[3] - x * gy - y * h[0];
    into[8] = spin[4] - x * gz - z * h[0];
    into[9] = spin[5] - y * gz - z * h[1];
}

/* Linear (3) and angular (3) momentum of a body about the base's origin. */
static inline void momentum(const double *body, const double *w, const double *v, double *into)
{
    double mass = body[0], hx = body[1], hy = body[2], hz = body[3];
    into[0] = mass * v[0] + (w[1] * hz - w[2] * hy);
    into[1] = mass * v[1] + (w[2] * hx - w[0] * hz);
    into[2] = mass * v[2] + (w[0] * hy - w[1] * hx);
    into[3] = body[4] * w[0] + body[7] * w[1] + body[8] * w[2] + (hy * v[2] - hz * v[1]);
    into[4] = body[7] * w[0] + body[5] * w[1] + body[9] * w[2] + (hz * v[0] - hx * v[2]);
    into[5] = body[8] * w[0] + body[9] * w[1] + body[6] * w[2] + (hx * v[1] - hy * v[0]);
}
