// Stands for AITER's sorting kernels, whose text is part of their revision. The real file, as of AITER's commit
// e4048607, holds this line, by which its multiphase writes out of bounds for negative ids:
//   if(eid < kargs.num_experts)
